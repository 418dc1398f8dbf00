{#- Fails where a text has been pending for longer than `days`. The column says since when (UTC). -#}
{% test pending_no_older_than(model, column_name, days) %}
select *
from {{ model }}
where {{ column_name }} < {{ dbt.dateadd("day", -days, dbt_labels.utc_now()) }}
{% endtest %}
