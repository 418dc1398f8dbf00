{#- The warehouse's clock as a timestamp without time zone, in UTC. -#}
{% macro utc_now() %}
    {{ return(adapter.dispatch("utc_now", "dbt_labels")()) }}
{% endmacro %}

{% macro default__utc_now() -%}
    {{ dbt.current_timestamp() }}
{%- endmacro %}

{% macro duckdb__utc_now() -%}
    (now() at time zone 'UTC')
{%- endmacro %}

{#- now() there is when the transaction began, which may have waited for a lock since: leases go by the clock. -#}
{% macro postgres__utc_now() -%}
    (clock_timestamp() at time zone 'UTC')
{%- endmacro %}

{#- Counted from 1970, so that no session's zone and no hour that comes twice can shift it. -#}
{% macro spark__utc_now() -%}
    timestampadd(microsecond, unix_micros(current_timestamp()), timestamp_ntz '1970-01-01 00:00:00')
{%- endmacro %}
