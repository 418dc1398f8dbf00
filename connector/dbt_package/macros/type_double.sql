{#- The type of a floating-point number of 64 bits: what dbt calls a float has 32 bits on some engines. -#}
{% macro type_double() %}
    {{ return(adapter.dispatch("type_double", "dbt_labels")()) }}
{% endmacro %}

{% macro default__type_double() -%}
    double precision
{%- endmacro %}

{% macro spark__type_double() -%}
    double
{%- endmacro %}
