{#-
    The values that two columns of text have, in long form: `keys`, `value`, and `in_left` and `in_right` as 0 or 1.

    `relation` has `keys`, `field_type` and both columns. A value of an `any_of` field is each member of its array, so a row
    whose arrays are both empty gives none; order and repetition in an array mean nothing.
-#}
{% macro value_sides(relation, keys, left, right) %}
{%- set names = keys | join(", ") %}
    select
        {{ names }},
        value,
        max(on_left) as in_left,
        max(on_right) as in_right
    from (
        {%- for column, on_left, on_right in [(left, 1, 0), (right, 0, 1)] %}
        select
            {{ names }},
            {{ column }} as value,
            {{ on_left }} as on_left,
            {{ on_right }} as on_right
        from {{ relation }}
        where field_type <> 'any_of' and {{ column }} is not null

        union all

        select
            {{ names }},
            value,
            {{ on_left }} as on_left,
            {{ on_right }} as on_right
        from (
            {{ dbt_labels.unnest_labels(
                "(select * from " ~ relation ~ " where field_type = 'any_of') as arrays", column, keys
            ) }}
        ) as members
        where value is not null
        {{- "\n\n        union all\n" if not loop.last }}
        {%- endfor %}
    ) as sides
    group by {{ names }}, value
{%- endmacro %}
