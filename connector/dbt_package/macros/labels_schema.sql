{#- The schema of the ledger and of every task's labels. Sources say the same in their YAML, where no macro can be called. -#}
{% macro labels_schema() %}
    {{ return(dbt_labels.checked_schema(var("dbt_labels_schema", target.schema ~ "_labels"), "dbt_labels_schema")) }}
{% endmacro %}
