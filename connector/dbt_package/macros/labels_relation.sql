{#- A relation in the labels schema (or in another one), whether it exists or not. -#}
{% macro labels_relation(identifier, schema=none) %}
    {{ return(api.Relation.create(
        database=target.database or none,
        schema=schema or dbt_labels.labels_schema(),
        identifier=identifier,
    )) }}
{% endmacro %}
