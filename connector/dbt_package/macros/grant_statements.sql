{#- The statements that let roles read tables of the labels schema. -#}
{% macro grant_statements(tables, roles) %}
    {{ return(adapter.dispatch("grant_statements", "dbt_labels")(tables, roles)) }}
{% endmacro %}

{% macro default__grant_statements(tables, roles) %}
    {% set quoted = [] %}
    {% for role in roles %}
        {% do quoted.append(adapter.quote(role)) %}
    {% endfor %}
    {% set to = "to " ~ quoted | join(", ") %}
    {% set statements = ["grant usage on schema " ~ dbt_labels.schema_reference(tables[0]) ~ " " ~ to] %}
    {% for table in tables %}
        {% do statements.append("grant select on table " ~ table ~ " " ~ to) %}
    {% endfor %}
    {{ return(statements) }}
{% endmacro %}

{#- There are no roles there: who can read the file can read the labels. -#}
{% macro duckdb__grant_statements(tables, roles) %}
    {{ return([]) }}
{% endmacro %}
