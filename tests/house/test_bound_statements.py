"""Statements about one organization are bound to it; those that are not are listed here, with the reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.sources import Module, modules, parse

UNBOUND = {
    "people belong to the platform; an organization sees its members alone": """
        People._create People._verified People.add_member People.check_password People.disable People.find People.get
        People.keep_profile People.organizations_of People.session People.sessions_of People.set_password People.sign_in
        People.sign_out People.sign_out_everywhere Members.accounts Members.set_enabled Members.set_platform_admin
        FirstRun.is_open FirstRun.new_token FirstRun.set_up Resets.ask Resets.check Resets.link_for Resets.reset
        Personal.of Personal.unsubscribe
        SecondFactors.clear SecondFactors.codes_left SecondFactors.confirm SecondFactors.sign_in SingleSignOn.finish
    """,
    "a secret or a signed link tells which organization it is about": """
        Invitations.accept Invitations.find ApprovalLinks.open Remembering.authenticate Remembering._write_touch
    """,
    "it queues a letter, which is the platform's, in the same transaction": "Invitations.invite Invitations.resend",
    "failures are counted across organizations": "Throttle._retry_at Throttle.attempt Codes._check_failures",
    "codes, offers, platform keys, rates, reconciliations and jobs are the platform's": """
        Offers.create Offers.get Offers.list Offers.withdraw
        Codes._claimed Codes._freed_if_refused Codes.create Codes.get Codes.list Codes.redeem Codes.redeemed Codes.revoke
        Codes._granted Codes.finish_redemptions
        PlatformKeys.create PlatformKeys.list PlatformKeys.revoke add_rates rates set_rate
        Reconciliations._timed
        Reconciliations._beside Reconciliations._found Reconciliations._known Reconciliations.compare Reconciliations.get
        Reconciliations.page Runner._make_known Runner._take _Shift._give_back _Shift._lengthen job_records
    """,
    "the platform's pages and jobs read and tidy all organizations": """
        Inbox.newest_anywhere
        Directory.counts Directory.grants Directory.names Directory.organizations Directory.pulses Directory.usage
        Directory.usage_total Directory.used Reading.organizations Reading.organizations_due Reading.ping Indexing.catch_up
        Outlooks.refresh Policies.serving Schedules.run_due Topups.finish_approvals Answers.forget_old delete_old
        create_organization
        Watching._tell Watching._tell_expiring Watching.expiring Watching.unusual Watching.verify
    """,
    "what the provider of payments tells is found by its own ids, and what it did not tell is asked for": """
        Payments._named Payments._paid_by Payments.ask Purchases.finish_paid
    """,
    "the outbox is emptied for all organizations, and for the platform's own channels": """
        Deliverer._claim Deliverer._drop Deliverer._due_lanes Deliverer._give_back Deliverer._note Outbox.dispatch Sending.prepare
    """,
}
"""Why what runs without an organization does, and where."""


def unbound_in(module: Module) -> Iterator[str]:
    """Give the functions in which a transaction or a snapshot is opened for no organization."""

    def walk(node: ast.AST, names: tuple[str, ...]) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from walk(child, (*names, child.name))
                continue
            if isinstance(child, ast.Call) and len(child.args) < 2:
                name = child.func.id if isinstance(child.func, ast.Name) else getattr(child.func, "attr", "")
                if name in ("reading", "transaction") and child.args:
                    yield ".".join(names)
            yield from walk(child, names)

    yield from walk(module.tree, ())


def test_what_is_about_one_organization_is_bound_to_it() -> None:
    found = {name for module in modules() for name in unbound_in(module)}
    listed = [name for names in UNBOUND.values() for name in names.split()]
    assert found == set(listed)
    assert len(listed) == len(set(listed))


def test_the_rule_sees_what_it_is_for() -> None:
    text = """
class Things:
    def bound(self, organization_id):
        with reading(self._engine, organization_id) as connection, transaction(self._engine, organization_id): ...
    def unbound(self, organization_id):
        with suppress(KeyError), transaction(self._engine) as connection: ...
"""
    assert list(unbound_in(parse("things.py", text))) == ["Things.unbound"]
