{#- The columns of a task's table of labels: [name, type] in order. -#}
{% macro label_columns(task) %}
    {% set text, whole = dbt.type_string(), dbt.type_bigint() %}
    {% set types = {
        "one_of": text, "any_of": text, "text": text, "boolean": dbt.type_boolean(), "integer": whole,
    } %}
    {% set columns = [["text_key", text], ["version", whole]] %}
    {% for field in task.fields if field.name is string and field.type in types %}
        {% do columns.append([field.name, types[field.type]]) %}
    {% endfor %}
    {{ return(columns + [
        ["outcome", text], ["reason", text], ["raw", text], ["model", text], ["prompt_hash", text],
        ["input_tokens", whole], ["output_tokens", whole], ["attempt", whole], ["batch_key", text],
        ["labelled_at", dbt.type_timestamp()],
    ]) }}
{% endmacro %}
