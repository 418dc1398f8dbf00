{#- The on-run-start hook: makes what is missing in the labels schema, for commands that build. -#}
{% macro make_tables() %}
    {% if execute %}
        {#- whatever the command: sources name the schema too, where nothing looks at it #}
        {% do dbt_labels.labels_schema() %}
    {% endif %}
    {% if execute and flags.WHICH in ["build", "run", "retry"] and var("dbt_labels_make_tables", true) %}
        {% set statements = dbt_labels.ddl(dbt_labels.tasks()) %}
        {% do dbt_labels.run_statements(statements) %}
        {#- dbt looked before they were there, and would not look again in this command #}
        {% for task in dbt_labels.tasks() if statements %}
            {% do adapter.cache_added(dbt_labels.labels_relation(task.table).incorporate(type="table")) %}
        {% endfor %}
    {% endif %}
{% endmacro %}
