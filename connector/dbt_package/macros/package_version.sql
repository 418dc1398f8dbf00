{#- The version of this package; the connector refuses to work with another one than its own. -#}
{% macro package_version() %}
    {{ return("0.1.0") }}
{% endmacro %}
