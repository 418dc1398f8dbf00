{#- Fails where a text has been pending for longer than `days`. The column says since when (UTC). -#}
{% test pending_no_older_than(model, column_name, days) %}
{%- if not execute -%}
    {#- a mistake in one test must not keep the project from being parsed #}
{%- elif modules.re.fullmatch('[A-Za-z_][A-Za-z0-9_]*|"[A-Za-z_][A-Za-z0-9_]*"', column_name | string) is none -%}
    {{ exceptions.raise_compiler_error("pending_no_older_than: " ~ column_name | tojson ~ " can not be a column's name") }}
{%- elif days is not integer -%}
    {{ exceptions.raise_compiler_error("pending_no_older_than: `days` must be a whole number") }}
{%- endif -%}
select *
from {{ model }}
where {{ column_name }} < {{ dbt.dateadd("day", -(days | int), dbt_labels.utc_now()) }}
{% endtest %}
