{#-
    The columns of a task's table of labels: [name, type] in order.

    A field that can not be a column of its own makes none, so that no mistake in a task stops the hook.
-#}
{% macro label_columns(task) %}
    {% set text, whole = dbt.type_string(), dbt.type_bigint() %}
    {% set types = {
        "one_of": text, "any_of": text, "text": text, "boolean": dbt.type_boolean(), "integer": whole,
    } %}
    {% set usd = dbt_labels.type_usd() %}
    {% set before = [["text_key", text], ["version", whole]] %}
    {% set after = [
        ["outcome", text], ["reason", text], ["raw", text], ["model", text], ["prompt_hash", text],
        ["input_tokens", whole], ["cached_tokens", whole], ["output_tokens", whole], ["reasoning_tokens", whole],
        ["cost_usd", usd], ["attempt", whole], ["batch_key", text], ["labelled_at", dbt_labels.type_timestamp()],
    ] %}
    {% set taken = (before + after) | map("first") | list %}
    {% set own = [] %}
    {% for field in task.fields
        if dbt_labels.is_name(field.name) and field.name not in taken
        and field.type is string and field.type in types %}
        {% do own.append([field.name, types[field.type]]) %}
        {% do taken.append(field.name) %}
    {% endfor %}
    {% set sure = [] %}
    {% if task.get("run") is mapping and task.run.get("confidence") is true %}
        {% for name, type in own if (task.fields | selectattr("name", "equalto", name) | first).type != "text" %}
            {% do sure.append([name ~ "_confidence", dbt_labels.type_double()]) %}
        {% endfor %}
        {% do sure.append(["confidence", dbt_labels.type_double()]) %}
    {% endif %}
    {{ return(before + own + sure + after) }}
{% endmacro %}
