{#-
    The labels of every version: the task's own, then those of the schema read as well (dbt_labels_read_from), whose
    `_distance` is 1. A column that this schema does not have yet is null there. A label loaded twice comes twice.
    No field can have a name with `_` before it, so none meets `_distance`.
-#}
{% macro labelled(task, labels, columns) %}
{%- set read_from = dbt_labels.read_from_relation(task.table) %}
    select
        {%- for column in columns %}
        {{ adapter.quote(column) }},
        {%- endfor %}
        0 as _distance
    from {{ labels }}
    where outcome = 'labelled'
    {%- if read_from is not none %}
    {%- set types, present = dict(dbt_labels.label_columns(task)), dbt_labels.column_names(read_from) %}

    union all

    select
        {%- for column in columns %}
        {% if column not in present %}cast(null as {{ types[column] }}) as {% endif %}{{ adapter.quote(column) }},
        {%- endfor %}
        1 as _distance
    from {{ read_from }}
    where outcome = 'labelled'
    {%- endif %}
{%- endmacro %}
