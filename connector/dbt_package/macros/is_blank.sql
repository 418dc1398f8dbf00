{#- Whether a text has nothing to label: null, or only white space, control and invisible characters. -#}
{% macro is_blank(column) %}
    {{ return(adapter.dispatch("is_blank", "dbt_labels")(column)) }}
{% endmacro %}

{% macro default__is_blank(column) -%}
    ({{ column }} is null or trim({{ column }}) = '')
{%- endmacro %}

{% macro duckdb__is_blank(column) -%}
    ({{ column }} is null or regexp_full_match({{ column }}, '[\s\p{Z}\p{Cc}\p{Cf}]*'))
{%- endmacro %}
