{#- Which value people gave and which the model gave instead, from rows as `quality_pairs` gives them; not of `any_of` fields. -#}
{% macro quality_confusion(pairs) %}
select
    label_table,
    version,
    field,
    gold_value,
    label_value,
    count(*) as texts
from {{ pairs }}
where label_value is not null and field_type <> 'any_of'
group by label_table, version, field, gold_value, label_value
{%- endmacro %}
