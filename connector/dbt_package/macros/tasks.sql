{#- Every task of the project, from the `dbt_labels` block of its pending model. Empty while dbt parses. -#}
{% macro tasks() %}
    {% set found = [] %}
    {% if execute %}
        {% for node in graph.nodes.values() if node.resource_type == "model" %}
            {% set block = node.config.get("meta", {}).get("dbt_labels") %}
            {% if block is mapping and block.table is string and block.fields is sequence %}
                {% do found.append(dict(block, name=node.name, version=block.get("version", 1))) %}
            {% endif %}
        {% endfor %}
    {% endif %}
    {{ return(found) }}
{% endmacro %}
