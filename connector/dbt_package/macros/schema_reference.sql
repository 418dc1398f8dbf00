{#- The schema of a relation as `create schema` takes it. -#}
{% macro schema_reference(relation) %}
    {{ return(adapter.dispatch("schema_reference", "dbt_labels")(relation)) }}
{% endmacro %}

{% macro default__schema_reference(relation) %}
    {{ return(relation.without_identifier() | string) }}
{% endmacro %}

{#- A connection there is to one database, which can not be named. -#}
{% macro postgres__schema_reference(relation) %}
    {{ return(relation.without_identifier().include(database=false) | string) }}
{% endmacro %}
