{#-
    The task of a pending model: of the model being built, or of the one named. A task is given back as it is.

    The one place where a task is read in SQL. dbt knows neither `graph` nor `config.meta` while it parses and in unit
    tests: there, override this macro (`overrides: {macros: {dbt_labels.task: {table: ..., version: 1}}}`).
-#}
{% macro task(name=none) %}
    {% if name is mapping %}
        {{ return(name) }}
    {% endif %}
    {% if not execute %}
        {{ return({"name": name, "table": "not_known_yet", "text": "not_known_yet", "version": 0, "fields": []}) }}
    {% endif %}
    {% set wanted = name or model.name %}
    {% for task in dbt_labels.tasks() if task.name == wanted %}
        {{ return(task) }}
    {% endfor %}
    {{ exceptions.raise_compiler_error(
        "model `" ~ wanted ~ "` has no task, or a broken one: it needs `table`, `text` and `fields` under"
        ~ " `config.meta.dbt_labels`, and `dbt-labels plan` names every mistake in it"
    ) }}
{% endmacro %}
