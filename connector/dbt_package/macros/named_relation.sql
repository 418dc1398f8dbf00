{#-
    The relation that a task names under `key`, `gold` or `overrides`, or none: not named, or with a warning not built yet.

    Found by the graph, which dbt knows only when it runs: nothing makes dbt build it first.
-#}
{% macro named_relation(task, key) %}
    {% set name = task.get(key) %}
    {% if not execute or name is none %}
        {{ return(none) }}
    {% endif %}
    {% set where = "task `" ~ task.name ~ "`: `" ~ key ~ ": " ~ name ~ "`" %}
    {% set found = [] %}
    {% for node in graph.nodes.values()
        if node.name == name and node.resource_type in ["model", "seed", "snapshot"]
        and node.get("version") == node.get("latest_version") %}
        {% do found.insert(0 if node.package_name == project_name else found | length, node) %}
    {% endfor %}
    {% if not found %}
        {{ exceptions.raise_compiler_error(where ~ ": there is no model or seed of that name") }}
    {% elif found[0].config.materialized == "ephemeral" %}
        {{ exceptions.raise_compiler_error(where ~ ": it is ephemeral: make it a table or a view") }}
    {% endif %}
    {% set relation = load_relation(
        api.Relation.create(database=found[0].database, schema=found[0].schema, identifier=found[0].alias)
    ) %}
    {% if relation is none %}
        {% do exceptions.warn(where ~ " is not built yet, so there are no rows by it; when it is: `dbt build --select label_quality_pairs+`") %}
        {{ return(none) }}
    {% endif %}
    {% set columns = dbt_labels.column_names(relation) %}
    {% set fields = (dbt_labels.judged_fields(task) if key == "gold" else task.fields) | map(attribute="name") | list %}
    {% if "text_key" not in columns %}
        {{ exceptions.raise_compiler_error(
            where ~ " has no column `text_key`: make it with `dbt_labels.text_key`, one row per text"
        ) }}
    {% elif not (fields | select("in", columns) | list) %}
        {{ exceptions.raise_compiler_error(
            where ~ " has no column of a field: it needs one or more of " ~ fields | join(", ")
        ) }}
    {% endif %}
    {{ return(relation) }}
{% endmacro %}
