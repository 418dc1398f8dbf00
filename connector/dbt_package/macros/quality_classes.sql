{#-
    What `quality_metrics` says of a field, per value, from rows as `quality_pairs` gives them: one row per table of labels,
    version, field and value that people or the model gave, texts with both only. Precision and recall with Wilson's 95%
    intervals, null without any text.
-#}
{% macro quality_classes(pairs) %}
{%- set double = dbt_labels.type_double() -%}
with answered as (
    select * from {{ pairs }} where label_value is not null
),

sides as (
    {{ dbt_labels.value_sides("answered", ["label_table", "version", "field", "text_key"], "gold_value", "label_value") }}
),

classes as (
    select
        label_table,
        version,
        field,
        value,
        sum(in_left) as gold_texts,
        sum(in_right) as label_texts,
        sum(in_left * in_right) as true_positives
    from sides
    group by label_table, version, field, value
)

select
    label_table,
    version,
    field,
    value,
    cast(gold_texts as {{ dbt.type_bigint() }}) as gold_texts,
    cast(label_texts as {{ dbt.type_bigint() }}) as label_texts,
    cast(true_positives as {{ dbt.type_bigint() }}) as true_positives,
    {%- for measure, trials in [("precision", "label_texts"), ("recall", "gold_texts")] %}
    coalesce(cast(true_positives as {{ double }}) / nullif({{ trials }}, 0), 0) as {{ adapter.quote(measure) }},
    {{ dbt_labels.wilson_bound("true_positives", trials, "lower") }} as {{ measure }}_low,
    {{ dbt_labels.wilson_bound("true_positives", trials, "upper") }} as {{ measure }}_high,
    {%- endfor %}
    2 * cast(true_positives as {{ double }}) / (gold_texts + label_texts) as f1
from classes
{%- endmacro %}
