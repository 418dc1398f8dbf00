{#-
    How well labels agree with what people say, from rows as `quality_pairs` gives them: one row per table of labels, version,
    field and metric, with `value` and, for accuracy and exact_match, Wilson's 95% interval `low` to `high`.

    n            texts that people judged and that have a label of the version
    missing      texts that people judged and that have none
    accuracy     one_of, boolean, integer: share of equal values
    kappa        one_of, boolean, integer: Cohen's; null where both sides always say the same one value
    macro_f1     mean over the values that either side has of 2 tp / (gold + label); any_of: over its members
    micro_f1     any_of: the same of the sums over all values
    exact_match  any_of: share of texts with the same set of values
    jaccard      any_of: mean over texts of common values / values of either side; 1 where both have none

    As scikit-learn has them with zero_division=0, but for that last rule. Without any text there is no value.
-#}
{% macro quality_metrics(pairs) %}
{%- set keys = "label_table, version, field" -%}
{%- set double = dbt_labels.type_double() -%}
{%- set single, several = ["one_of", "boolean", "integer"], ["any_of"] -%}
with compared as (
    select * from {{ pairs }}
),

counted as (
    select
        {{ keys }},
        max(field_type) as field_type,
        count(label_value) as n,
        count(*) - count(label_value) as missing
    from compared
    group by {{ keys }}
),

answered as (
    select * from compared where label_value is not null
),

sides as (
    {{ dbt_labels.value_sides("answered", ["label_table", "version", "field", "text_key"], "gold_value", "label_value") }}
),

classes as (
    select
        {{ keys }},
        value,
        sum(in_left) as gold,
        sum(in_right) as label,
        sum(in_left * in_right) as common
    from sides
    group by {{ keys }}, value
),

over_classes as (
    select
        {{ keys }},
        avg(2 * cast(common as {{ double }}) / (gold + label)) as macro_f1,
        2 * cast(sum(common) as {{ double }}) / sum(gold + label) as micro_f1,
        cast(sum(gold * label) as {{ double }}) as chance
    from classes
    group by {{ keys }}
),

texts as (
    select
        answered.label_table,
        answered.version,
        answered.field,
        answered.text_key,
        coalesce(sum(sides.in_left), 0) as gold,
        coalesce(sum(sides.in_right), 0) as label,
        coalesce(sum(sides.in_left * sides.in_right), 0) as common
    from answered
    left join sides
        on answered.label_table = sides.label_table
        and answered.version = sides.version
        and answered.field = sides.field
        and answered.text_key = sides.text_key
    group by answered.label_table, answered.version, answered.field, answered.text_key
),

over_texts as (
    select
        {{ keys }},
        sum(case when gold = common and label = common then 1 else 0 end) as equal,
        avg(
            case when gold + label = 0 then 1 else cast(common as {{ double }}) / (gold + label - common) end
        ) as jaccard
    from texts
    group by {{ keys }}
),

measured as (
    select
        counted.label_table,
        counted.version,
        counted.field,
        counted.field_type,
        counted.n,
        counted.missing,
        coalesce(over_texts.equal, 0) as equal,
        cast(over_texts.equal as {{ double }}) / counted.n as share,
        (cast(over_texts.equal as {{ double }}) * counted.n - over_classes.chance)
        / nullif(cast(counted.n as {{ double }}) * counted.n - over_classes.chance, 0) as kappa,
        over_texts.jaccard,
        -- neither side has any value: 0/0
        case when counted.n > 0 then coalesce(over_classes.macro_f1, 0) end as macro_f1,
        case when counted.n > 0 then coalesce(over_classes.micro_f1, 0) end as micro_f1
    from counted
    left join over_texts
        on counted.label_table = over_texts.label_table
        and counted.version = over_texts.version
        and counted.field = over_texts.field
    left join over_classes
        on counted.label_table = over_classes.label_table
        and counted.version = over_classes.version
        and counted.field = over_classes.field
)

{% for metric, column, types in [
    ("n", "n", single + several),
    ("missing", "missing", single + several),
    ("accuracy", "share", single),
    ("kappa", "kappa", single),
    ("macro_f1", "macro_f1", single + several),
    ("micro_f1", "micro_f1", several),
    ("exact_match", "share", several),
    ("jaccard", "jaccard", several),
] %}
select
    {{ keys }},
    '{{ metric }}' as metric,
    cast({{ column }} as {{ double }}) as value,
    {%- if column == "share" %}
    {{ dbt_labels.wilson_bound("equal", "n", "lower") }} as low,
    {{ dbt_labels.wilson_bound("equal", "n", "upper") }} as high
    {%- else %}
    cast(null as {{ double }}) as low,
    cast(null as {{ double }}) as high
    {%- endif %}
from measured
where field_type in ('{{ types | join("', '") }}')
{{ "\nunion all\n" if not loop.last }}
{%- endfor %}
{%- endmacro %}
