{#-
    Every task of the project, from the `dbt_labels` block of its pending model. Empty while dbt parses.

    A block that SQL can not be written from is left out, so that its mistake stops no other model, and none of its names
    meets SQL: `dbt-labels plan` names it.
-#}
{% macro tasks() %}
    {% set found, ledger = [], dbt_labels.ledger_columns() %}
    {% if execute %}
        {% for node in graph.nodes.values() if node.resource_type == "model" %}
            {% set block = node.config.get("meta", {}).get("dbt_labels") %}
            {% if block is mapping and dbt_labels.is_name(block.table) and block.table not in ledger
                and dbt_labels.is_column(block.text) and block.get("version", 1) is integer
                and block.fields is sequence and block.fields is not string %}
                {% set unfit = [] %}
                {% for field in block.fields if field is not mapping or not dbt_labels.is_name(field.name) %}
                    {% do unfit.append(field) %}
                {% endfor %}
                {% if not unfit %}
                    {% do found.append(dict(block, name=node.name, unique_id=node.unique_id, version=block.get("version", 1))) %}
                {% endif %}
            {% endif %}
        {% endfor %}
    {% endif %}
    {{ return(found) }}
{% endmacro %}
