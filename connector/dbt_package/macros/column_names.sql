{#- The names of a relation's columns in lower case, as the database has them now.

    Empty where it does not exist, and where nobody can look: a CTE, which unit tests put in a model's place, or a subquery. -#}
{% macro column_names(relation) %}
    {% if relation is string or relation.is_cte %}
        {{ return([]) }}
    {% endif %}
    {% set loaded = load_relation(relation) %}
    {% if loaded is none %}
        {{ return([]) }}
    {% endif %}
    {{ return(adapter.get_columns_in_relation(loaded) | map(attribute="name") | map("lower") | list) }}
{% endmacro %}
