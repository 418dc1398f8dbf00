{#-
    Lets roles read the labels: every task's table, and the labels schema for it. For the root project's `on-run-end`, because
    dbt's `grants` reach only what dbt makes itself. `roles` is a list of names; the ledger stays with its owner.
-#}
{% macro grant_select(roles) %}
    {% if execute and flags.WHICH in ["build", "run", "retry"] and roles %}
        {% set tables = [] %}
        {% for task in dbt_labels.tasks() %}
            {% set relation = load_relation(dbt_labels.labels_relation(task.table)) %}
            {% if relation is not none %}
                {% do tables.append(relation) %}
            {% endif %}
        {% endfor %}
        {% do dbt_labels.run_statements(dbt_labels.grant_statements(tables, roles) if tables else []) %}
    {% endif %}
{% endmacro %}
