{#- The on-run-start hook: makes what is missing in the labels schema, for commands that build. -#}
{% macro make_tables() %}
    {% if execute %}
        {#- whatever the command: sources name the schema too, where nothing looks at it #}
        {% do dbt_labels.labels_schema() %}
    {% endif %}
    {% if execute and flags.WHICH in ["build", "run", "retry"] and var("dbt_labels_make_tables", true) %}
        {% do dbt_labels.run_statements(dbt_labels.ddl(dbt_labels.tasks())) %}
    {% endif %}
{% endmacro %}
