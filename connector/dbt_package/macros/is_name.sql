{#- Whether a value from YAML can name a table or a column as it stands. -#}
{% macro is_name(value) %}
    {{ return(value is string and modules.re.fullmatch("[a-z][a-z0-9_]{0,62}", value) is not none) }}
{% endmacro %}
