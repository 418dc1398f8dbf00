{#-
    The task that a data test holds: the one of the pending model named, or else of what the test is put on, a task's source
    table or its pending model; none where there is none.

    What it is put on is known by dbt's own word: an alias changes its name in the database, and `where` makes it a subquery.
-#}
{% macro task_of_test(name=none) %}
    {% set tested = [] %}
    {% for node in graph.nodes.values() if node.resource_type == "test" and node.alias == this.identifier %}
        {% do tested.extend(node.depends_on.nodes) %}
    {% endfor %}
    {% set tables = graph.sources.values() | selectattr("unique_id", "in", tested) | map(attribute="identifier") | list %}
    {% for task in dbt_labels.tasks() %}
        {% if task.name == name or (not name and (task.unique_id in tested or task.table in tables)) %}
            {{ return(task) }}
        {% endif %}
    {% endfor %}
    {{ return(none) }}
{% endmacro %}
