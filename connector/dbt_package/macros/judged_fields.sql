{#- The fields of a task that can be held against what people say: all but free text. -#}
{% macro judged_fields(task) %}
    {% set own = dbt_labels.label_columns(task) | map("first") | list %}
    {% set found = [] %}
    {% for field in task.fields if field.name in own and field.type in ["one_of", "any_of", "boolean", "integer"] %}
        {% do found.append(field) %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}
