{#-
    What people said, in long form: `text_key`, `field` and `value` as text, one row per text and field that has a value.

    `relation` has one row per text: `text_key` and a column per field, null where nobody judged it; a field may have no
    column. Should a text come twice all the same, the smaller value counts, so that nothing is counted twice.
-#}
{% macro judgements(relation, fields) %}
{%- set present = dbt_labels.column_names(relation) -%}
{%- set judged = [] -%}
{%- for field in fields if not present or field.name in present %}{% do judged.append(field) %}{% endfor -%}
{%- for field in judged %}
    select
        text_key,
        '{{ field.name }}' as field,
        min({{ dbt_labels.value_text(adapter.quote(field.name), field.type) }}) as value
    from {{ relation }}
    where text_key is not null and {{ adapter.quote(field.name) }} is not null
    group by text_key
    {{- "\n\n    union all\n" if not loop.last }}
{%- else %}
    select
        cast(null as {{ dbt.type_string() }}) as text_key,
        cast(null as {{ dbt.type_string() }}) as field,
        cast(null as {{ dbt.type_string() }}) as value
    where 1 = 0
{%- endfor %}
{%- endmacro %}
