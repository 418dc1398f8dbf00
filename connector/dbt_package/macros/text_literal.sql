{#- A text as a literal of SQL. -#}
{% macro text_literal(value) %}
    {{ return(adapter.dispatch("text_literal", "dbt_labels")(value)) }}
{% endmacro %}

{% macro default__text_literal(value) %}
    {{ return(dbt.string_literal(dbt.escape_single_quotes(value))) }}
{% endmacro %}

{#- A backslash escapes there. -#}
{% macro spark__text_literal(value) %}
    {{ return("'" ~ (value | string | replace("\\", "\\\\") | replace("'", "\\'")) ~ "'") }}
{% endmacro %}
