{#- The on-run-start hook: makes what is missing in the labels schema, for commands that build. -#}
{% macro make_tables() %}
    {% if execute and flags.WHICH in ["build", "run", "retry"] and var("dbt_labels_make_tables", true) %}
        {% set statements = dbt_labels.ddl(dbt_labels.tasks()) %}
        {% for sql in statements %}
            {% call statement(auto_begin=true) %}{{ sql }}{% endcall %}
        {% endfor %}
        {% if statements %}
            {% do adapter.commit() %}
        {% endif %}
    {% endif %}
{% endmacro %}
