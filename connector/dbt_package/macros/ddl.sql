{#-
    The statements that make what is missing in the labels schema: the schema, the ledger, each task's table, and a
    column for each field that is new. Nothing is ever dropped or changed. The hook runs them, `dbt-labels ddl` prints them.
-#}
{% macro ddl(tasks) %}
    {% set statements = [] %}
    {% set tables = dbt_labels.ledger_columns() %}
    {% for task in tasks %}
        {% do tables.update({task.table: dbt_labels.label_columns(task)}) %}
    {% endfor %}
    {% if not adapter.check_schema_exists(target.database or none, dbt_labels.labels_schema()) %}
        {% do statements.append(
            "create schema if not exists " ~ dbt_labels.schema_reference(dbt_labels.labels_relation("x"))
        ) %}
    {% endif %}
    {% for table, columns in tables.items() %}
        {% set relation = dbt_labels.labels_relation(table) %}
        {% set present = dbt_labels.column_names(relation) %}
        {% if not present %}
            {% set lines = [] %}
            {% for name, type in columns %}
                {% do lines.append("    " ~ adapter.quote(name) ~ " " ~ type) %}
            {% endfor %}
            {% do statements.append(
                "create table if not exists " ~ relation ~ " (\n" ~ lines | join(",\n") ~ "\n)" ~ dbt_labels.table_format()
            ) %}
        {% else %}
            {% for name, type in columns if name | lower not in present %}
                {% do statements.append(
                    "alter table " ~ relation ~ " add column " ~ adapter.quote(name) ~ " " ~ type
                ) %}
            {% endfor %}
        {% endif %}
    {% endfor %}
    {{ return(statements) }}
{% endmacro %}
