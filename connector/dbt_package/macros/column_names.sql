{#- The names of a relation's columns in lower case, as the database has them now; empty where it does not exist. -#}
{% macro column_names(relation) %}
    {% set loaded = load_relation(relation) %}
    {% if loaded is none %}
        {{ return([]) }}
    {% endif %}
    {{ return(adapter.get_columns_in_relation(loaded) | map(attribute="name") | map("lower") | list) }}
{% endmacro %}
