{#- The type of an amount in US dollars: exact to a millionth of a millionth, so that parts of a cent sum to the whole. -#}
{% macro type_usd() %}
    {{ return("decimal(38, 12)") }}
{% endmacro %}
