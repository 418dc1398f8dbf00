{#- The columns of the ledger's tables: [name, type] in order. A task's table of labels has those of `label_columns`. -#}
{% macro ledger_columns() %}
    {% set text, whole, time = dbt.type_string(), dbt.type_bigint(), dbt_labels.type_timestamp() %}
    {% set usd = dbt_labels.type_usd() %}
    {{ return({
        "label_claims": [
            ["batch_key", text], ["project", text], ["label_table", text], ["version", whole],
            ["custom_id", text], ["item_id", text], ["text_key", text], ["attempt", whole],
        ],
        "label_events": [
            ["batch_key", text], ["event", text], ["project", text], ["label_table", text], ["version", whole],
            ["run_key", text], ["provider", text], ["organisation", text], ["provider_project", text],
            ["model", text], ["price", text],
            ["claims", whole], ["requests", whole], ["input_bytes", whole], ["enqueued_tokens", whole],
            ["bound_usd", usd], ["expected_usd", usd], ["task_snapshot", text],
            ["input_file_id", text], ["file_created_at", whole], ["witness_file_id", text],
            ["provider_batch_id", text], ["provider_status", text], ["output_file_id", text], ["error_file_id", text],
            ["completed", whole], ["failed", whole],
            ["labelled", whole], ["rejected", whole], ["retried", whole],
            ["input_tokens", whole], ["cached_tokens", whole], ["output_tokens", whole], ["reasoning_tokens", whole],
            ["cost_usd", usd], ["uncosted", whole],
            ["reason", text], ["message", text], ["event_at", time],
        ],
        "label_leases": [
            ["label_table", text], ["owner", text], ["host", text], ["process", text],
            ["taken_at", time], ["until_at", time],
        ],
    }) }}
{% endmacro %}
