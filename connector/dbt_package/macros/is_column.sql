{#- Whether a value from YAML can name a column of a relation that others made. -#}
{% macro is_column(value) %}
    {{ return(value is string and modules.re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,127}", value) is not none) }}
{% endmacro %}
