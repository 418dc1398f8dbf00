{#- The table of labels in the schema that is read as well (var dbt_labels_read_from), or none. Never written. -#}
{% macro read_from_relation(table) %}
    {% set schema = var("dbt_labels_read_from", none) %}
    {% if not execute or schema is none or schema == dbt_labels.labels_schema() %}
        {{ return(none) }}
    {% endif %}
    {% set schema = dbt_labels.checked_schema(schema, "dbt_labels_read_from") %}
    {% set relation = adapter.get_relation(database=target.database or none, schema=schema, identifier=table) %}
    {% if relation is none %}
        {% do exceptions.warn("dbt_labels_read_from: there is no table `" ~ table ~ "` in schema `" ~ schema ~ "`") %}
    {% endif %}
    {{ return(relation) }}
{% endmacro %}
