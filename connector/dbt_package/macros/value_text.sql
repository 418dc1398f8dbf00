{#- A field's value as text, the same on every engine and whatever the type of a seed's column is. -#}
{% macro value_text(column, type) -%}
    {%- if type == "boolean" -%}
    case when cast({{ column }} as {{ dbt.type_boolean() }}) then 'true' when {{ column }} is not null then 'false' end
    {%- elif type == "integer" -%}
    cast(cast({{ column }} as {{ dbt.type_bigint() }}) as {{ dbt.type_string() }})
    {%- else -%}
    cast({{ column }} as {{ dbt.type_string() }})
    {%- endif -%}
{%- endmacro %}
