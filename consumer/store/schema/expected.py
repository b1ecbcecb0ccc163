"""Made by scripts/expected_schema.py from migrations/: what a migrated database holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MIGRATIONS: Final = (
    "0001_public_tables.sql",
    "0002_worker.sql",
    "0003_rules.sql",
)

OBJECTS: Final[Mapping[str, tuple[str, str]]] = {
    "audit_log_task": ("index", "490460f19155"),
    "budget_periods_budget": ("index", "c015de027b62"),
    "budget_periods_current": ("index", "1280474b1fb5"),
    "budgets_kept": ("trigger", "075471b0456d"),
    "budgets_replaced": ("trigger", "e0b597c70f9a"),
    "executions_admission": ("trigger", "14370ada62d0"),
    "executions_budgets": ("trigger", "29682328938f"),
    "executions_charge": ("trigger", "1e2aaa403cb4"),
    "executions_deleted": ("trigger", "c2bdca9d4f50"),
    "executions_external": ("index", "1bed661de3fc"),
    "executions_finished": ("trigger", "acbf0449c6df"),
    "executions_foreign_id": ("trigger", "b0630088e2d7"),
    "executions_foreign_insert": ("trigger", "e717b4bef776"),
    "executions_gone": ("trigger", "7a64de2d0f55"),
    "executions_identity": ("trigger", "bb349adfe600"),
    "executions_ledger": ("trigger", "0592da8192aa"),
    "executions_ours": ("trigger", "e6f98561d8d8"),
    "executions_replaced": ("trigger", "72e0823ce4c5"),
    "executions_reserve": ("trigger", "5ab13c6c6ca4"),
    "executions_state_insert": ("trigger", "95c70bce4e2b"),
    "executions_state_update": ("trigger", "ebd71f7aa509"),
    "executions_wake": ("index", "1e11fa7dc24d"),
    "organizations_name": ("index", "6d08df05cb86"),
    "outbox_due": ("index", "e0f9780c2a44"),
    "stops_installation": ("trigger", "af1720a487b3"),
    "tasks_blocked": ("index", "c3dce069a46e"),
    "tasks_corrected": ("trigger", "16878b159151"),
    "tasks_deadline": ("index", "d3ecab28e2c6"),
    "tasks_deleted": ("trigger", "c53c0c497724"),
    "tasks_due": ("index", "0eb175f93606"),
    "tasks_edited": ("trigger", "0f52989bae9a"),
    "tasks_ended": ("trigger", "cb8baa59893a"),
    "tasks_finished": ("trigger", "c05be577c2e6"),
    "tasks_foreign_due_date": ("trigger", "028d5d14f47d"),
    "tasks_foreign_edit": ("trigger", "f4ca71ad7cd0"),
    "tasks_foreign_identity": ("trigger", "ef9cd8d5ea71"),
    "tasks_foreign_insert": ("trigger", "35237ec8c907"),
    "tasks_foreign_template": ("trigger", "bfc19f62d5a8"),
    "tasks_gone": ("trigger", "90b3658d3315"),
    "tasks_idempotency": ("index", "8c7b3af4791b"),
    "tasks_identity": ("trigger", "41d911c0d7f3"),
    "tasks_moved": ("trigger", "9329eac45239"),
    "tasks_needs": ("index", "f3c5938eb552"),
    "tasks_organization": ("index", "55361d47a8a6"),
    "tasks_organization_due": ("index", "06a0aa87769e"),
    "tasks_organization_waiting": ("index", "f1d4efd251ac"),
    "tasks_raise": ("index", "9303eed0fdc6"),
    "tasks_replaced": ("trigger", "b3fb0995451e"),
    "tasks_state_insert": ("trigger", "b78370c4814c"),
    "tasks_state_update": ("trigger", "e0581f625800"),
    "tasks_taken": ("index", "14c07b7e4d90"),
    "templates_gone": ("trigger", "fee80b376ec2"),
    "templates_organization": ("index", "1b5511ec1b41"),
    "users_address": ("index", "3b370a312d69"),
    "webhooks_execution": ("index", "7b1c6d78477f"),
    "webhooks_external": ("index", "941aade9ee70"),
}
"""Indexes and triggers: name -> kind, digest of the definition."""

COLUMNS: Final[Mapping[str, str]] = {
    "api_keys": """
        created_ms hash id organization_id revoked_ms role
    """,
    "audit_log": """
        actor at_ms detail event id organization_id task_id
    """,
    "blob_parts": """
        data key part
    """,
    "budget_periods": """
        alerted_ms budget_id deleted_micro ends_ms id open reserved_micro spent_micro starts_ms
    """,
    "budgets": """
        cap_micro id organization_id period refused scope scope_id tier
    """,
    "dead_letters": """
        body message_id reason received_ms
    """,
    "heartbeats": """
        at_ms name
    """,
    "installation": """
        id last_id next_id
    """,
    "leases": """
        task_ids token until_ms
    """,
    "ledger": """
        bound_micro cost_micro day executions organization_id overrun_micro profile provider task_id
        template_id
    """,
    "organizations": """
        created_at id name
    """,
    "outbox": """
        attempts due_ms holder kind task_id
    """,
    "rests": """
        account began_ms changed_ms failing failures holders level limits profile reason recent until_ms
        version writer
    """,
    "stops": """
        actor at_ms id reason
    """,
    "task_executions": """
        assigned_to attempt budgets candidate completed_at cost cost_micro cost_source execution_type
        external_id follow_ups id lease note profile provider reason reserved_micro resolve_by_ms result
        result_key stage started_at started_ms status task_id usage wake_at_ms
    """,
    "task_templates": """
        category created_at created_by description estimated_duration id input_schema limits name
        organization_id output_schema prompt route version
    """,
    "tasks": """
        assigned_to attempt blocked_by boost candidate created_at created_by deadline_ms description
        due_date edited_version feedback id idempotency_key identity input input_from last_execution
        lease lost_leases needs_micro organization_id priority raise_at_ms rank(generated) reason redos
        repairs replaces restored retry_of run_at_ms stage status submitted template_id title updated_at
        version
    """,
    "users": """
        created_at email id name organization_id role
    """,
    "webhooks": """
        body body_key event_id execution_id external_id handled_ms profile received_ms
    """,
}
"""Tables: name -> their columns."""
