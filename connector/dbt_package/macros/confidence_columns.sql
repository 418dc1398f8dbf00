{#- The columns of a task's table of labels that say how sure the model was; none unless the task asks for them. -#}
{% macro confidence_columns(task) %}
    {% set found = [] %}
    {% if task.get("run") is mapping and task.run.get("confidence") is true %}
        {% set wanted = ["confidence"] %}
        {% for field in task.fields %}
            {% do wanted.append(field.name ~ "_confidence") %}
        {% endfor %}
        {% for name, _ in dbt_labels.label_columns(task) if name in wanted %}
            {% do found.append(name) %}
        {% endfor %}
    {% endif %}
    {{ return(found) }}
{% endmacro %}
