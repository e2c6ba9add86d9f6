"""The SDK: `Tokenwell` and `AsyncTokenwell`. What can be asked is defined once, in `Calls`."""

from __future__ import annotations

from tokenwell.client.calls import Calls
from tokenwell.client.sending import AsyncSender, Sender, adoes, aeach, does, each


class Tokenwell(Sender):
    """A client of the REST API of a server at `url`, for plain code. Safe to share between threads; `close` it at the end.

    `key` is a platform key or a gateway key. A request that met a lost connection, 429 or 503 is repeated at most `retries` times,
    a write with the same idempotency key. Methods raise the errors of `tokenwell.errors` by the server's code, and
    ServerUnreachable. `each_…` yields a list's items over all its pages.
    """

    create_organization = does(Calls.create_organization)
    list_organizations = does(Calls.list_organizations)
    get_organization = does(Calls.get_organization)
    set_thresholds = does(Calls.set_thresholds)
    clear_thresholds = does(Calls.clear_thresholds)
    balance = does(Calls.balance)
    grant_pack = does(Calls.grant_pack)
    list_packs = does(Calls.list_packs)
    get_pack = does(Calls.get_pack)
    revoke_pack = does(Calls.revoke_pack)
    extend_pack = does(Calls.extend_pack)
    set_pack_note = does(Calls.set_pack_note)
    open_hold = does(Calls.open_hold)
    extend_hold = does(Calls.extend_hold)
    settle_hold = does(Calls.settle_hold)
    release_hold = does(Calls.release_hold)
    debit = does(Calls.debit)
    debit_batch = does(Calls.debit_batch)
    refund = does(Calls.refund)
    ledger = does(Calls.ledger)
    ledger_sums = does(Calls.ledger_sums)
    list_sessions = does(Calls.list_sessions)
    get_session = does(Calls.get_session)
    usage = does(Calls.usage)
    journal = does(Calls.journal)
    verify = does(Calls.verify)
    list_rates = does(Calls.list_rates)
    set_rate = does(Calls.set_rate)

    each_organization = each(Calls.list_organizations)
    each_pack = each(Calls.list_packs)
    each_ledger_line = each(Calls.ledger)
    each_session = each(Calls.list_sessions)
    each_journal_line = each(Calls.journal)


class AsyncTokenwell(AsyncSender):
    """The same client for coroutines; what `Tokenwell` returns, this returns to `await`, and what it yields, to `async for`."""

    create_organization = adoes(Calls.create_organization)
    list_organizations = adoes(Calls.list_organizations)
    get_organization = adoes(Calls.get_organization)
    set_thresholds = adoes(Calls.set_thresholds)
    clear_thresholds = adoes(Calls.clear_thresholds)
    balance = adoes(Calls.balance)
    grant_pack = adoes(Calls.grant_pack)
    list_packs = adoes(Calls.list_packs)
    get_pack = adoes(Calls.get_pack)
    revoke_pack = adoes(Calls.revoke_pack)
    extend_pack = adoes(Calls.extend_pack)
    set_pack_note = adoes(Calls.set_pack_note)
    open_hold = adoes(Calls.open_hold)
    extend_hold = adoes(Calls.extend_hold)
    settle_hold = adoes(Calls.settle_hold)
    release_hold = adoes(Calls.release_hold)
    debit = adoes(Calls.debit)
    debit_batch = adoes(Calls.debit_batch)
    refund = adoes(Calls.refund)
    ledger = adoes(Calls.ledger)
    ledger_sums = adoes(Calls.ledger_sums)
    list_sessions = adoes(Calls.list_sessions)
    get_session = adoes(Calls.get_session)
    usage = adoes(Calls.usage)
    journal = adoes(Calls.journal)
    verify = adoes(Calls.verify)
    list_rates = adoes(Calls.list_rates)
    set_rate = adoes(Calls.set_rate)

    each_organization = aeach(Calls.list_organizations)
    each_pack = aeach(Calls.list_packs)
    each_ledger_line = aeach(Calls.ledger)
    each_session = aeach(Calls.list_sessions)
    each_journal_line = aeach(Calls.journal)
