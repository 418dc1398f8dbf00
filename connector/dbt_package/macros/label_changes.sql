{#- What the model says otherwise in one version than in another, per text and field. Arguments and columns: `macros.yml`. -#}
{% macro label_changes(labels, from_version, to_version, task) %}
{%- set task = dbt_labels.task(task) -%}
{%- set fields = dbt_labels.judged_fields(task) -%}
{%- set names = fields | map(attribute="name") | list -%}
with labelled as (
    {{ dbt_labels.labelled(task, labels, ["text_key", "version"] + names + ["batch_key", "labelled_at"]) }}
),

ranked as (
    select
        labelled.*,
        row_number() over (partition by text_key, version order by _distance, labelled_at, batch_key) as _place
    from labelled
    where version in ({{ from_version }}, {{ to_version }})
),

both_versions as (
    {%- for field in fields %}
    select
        before.text_key,
        '{{ field.name }}' as field,
        '{{ field.type }}' as field_type,
        {{ dbt_labels.value_text("before." ~ adapter.quote(field.name), field.type) }} as old_value,
        {{ dbt_labels.value_text("after." ~ adapter.quote(field.name), field.type) }} as new_value
    from ranked as before
    inner join ranked as after on before.text_key = after.text_key
    where
        before.version = {{ from_version }} and before._place = 1
        and after.version = {{ to_version }} and after._place = 1
    {{- "\n\n    union all\n" if not loop.last }}
    {%- else %}
    select
        text_key,
        cast(null as {{ dbt.type_string() }}) as field,
        cast(null as {{ dbt.type_string() }}) as field_type,
        cast(null as {{ dbt.type_string() }}) as old_value,
        cast(null as {{ dbt.type_string() }}) as new_value
    from ranked
    where 1 = 0
    {%- endfor %}
),

differing as (
    select * from both_versions where old_value <> new_value
),

sides as (
    {{ dbt_labels.value_sides("differing", ["text_key", "field"], "old_value", "new_value") }}
)

select
    text_key,
    field,
    old_value,
    new_value
from differing
-- the same members in another order are no change
where exists (
    select 1
    from sides
    where sides.text_key = differing.text_key and sides.field = differing.field and sides.in_left <> sides.in_right
)
{%- endmacro %}
