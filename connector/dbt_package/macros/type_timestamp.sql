{#- The type of a time without zone: times are UTC, whatever the zone of a session is. -#}
{% macro type_timestamp() %}
    {{ return(adapter.dispatch("type_timestamp", "dbt_labels")()) }}
{% endmacro %}

{% macro default__type_timestamp() %}
    {{ return(dbt.type_timestamp()) }}
{% endmacro %}

{#- What is called a timestamp there is an instant, shown in the session's zone. -#}
{% macro spark__type_timestamp() %}
    {{ return("timestamp_ntz") }}
{% endmacro %}
