"""The suite: every service on one database, as the API and the console are given them."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from tokenwell.service.access.embedding import Embedding
from tokenwell.service.access.keys import Keys
from tokenwell.service.access.platform_keys import PlatformKeys
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.access.services import Services
from tokenwell.service.access.writes import Writes
from tokenwell.service.identity.first_run import FirstRun
from tokenwell.service.identity.invitations import Invitations
from tokenwell.service.identity.members import Members
from tokenwell.service.identity.people import People
from tokenwell.service.identity.resets import Resets
from tokenwell.service.identity.second_factors import SecondFactors
from tokenwell.service.identity.single_sign_on import SingleSignOn
from tokenwell.service.meter import Meter
from tokenwell.service.notices.inbox import Inbox
from tokenwell.service.notices.personal import Personal
from tokenwell.service.notices.post import Mailer, Post
from tokenwell.service.notices.subscriptions import Subscriptions
from tokenwell.service.packs import Packs
from tokenwell.service.policies import Policies
from tokenwell.service.records.audit import Audit
from tokenwell.service.records.backward import Backward
from tokenwell.service.records.browsing import Browsing
from tokenwell.service.records.directory import Directory
from tokenwell.service.records.disputes import Disputes
from tokenwell.service.records.indexing import Indexing
from tokenwell.service.records.outlooks import Outlooks
from tokenwell.service.records.proving import Proving
from tokenwell.service.records.reconciliation import Reconciliations
from tokenwell.service.supply.approval_links import ApprovalLinks
from tokenwell.service.supply.codes import Codes
from tokenwell.service.supply.emergencies import Emergencies
from tokenwell.service.supply.offers import Offers
from tokenwell.service.supply.paying import Checkout
from tokenwell.service.supply.payments import Payments
from tokenwell.service.supply.purchases import Purchases
from tokenwell.service.supply.schedules import Schedules
from tokenwell.service.supply.topups import Topups


def _passing_key() -> tuple[str, ...]:
    """Return a key that nothing outlives: for a suite that was given none."""
    return (secrets.token_urlsafe(48),)


class Suite:
    """The meter and the services around it. It closes what it opened; the meter is closed by who opened that."""

    def __init__(
        self,
        meter: Meter,
        *,
        people: People | None = None,
        sealer: Sealer | None = None,
        mailer: Mailer | None = None,
        check_url: Callable[[str], str] = str,
        sign_on: SingleSignOn | None = None,
        emergency_limit_tokens: int = 0,
        checkout: Checkout | None = None,
    ) -> None:
        self.meter = meter
        self.sealer = sealer or Sealer(_passing_key)
        self.mailer = mailer or Post(self.sealer, meter.clock, is_ready=False)
        self.people = people or People(meter.engine, meter.clock)
        self.keys = Keys(meter.engine, meter.clock)
        self.packs = Packs(meter)
        self.browsing = Browsing(meter, Indexing(meter.engine))
        self.backward = Backward(meter.engine)
        self.proving = Proving(meter.engine, meter, self.browsing)
        self.embedding = Embedding(meter.engine, meter.clock, self.sealer)
        self.outlooks = Outlooks(meter)
        self.directory = Directory(meter.engine, platform=meter.thresholds, clock=meter.clock)
        self.platform_keys = PlatformKeys(meter.engine, meter.clock)
        self.members = Members(self.people)
        self.invitations = Invitations(self.people, self.mailer)
        self.resets = Resets(self.people, self.mailer)
        self.second_factors = SecondFactors(self.people, self.sealer)
        self.first_run = FirstRun(self.people)
        self.sign_on = sign_on
        self.audit = Audit(meter.engine)
        self.writes = Writes(meter.engine, meter.clock)
        self.services = Services(meter, changed=self.keys.forget_service)
        self.topups = Topups(meter)
        self.approval_links = ApprovalLinks(meter, self.topups, self.sealer)
        self.codes = Codes(meter)
        self.emergencies = Emergencies(meter, limit_tokens=emergency_limit_tokens)
        self.disputes = Disputes(meter)
        self.reconciliations = Reconciliations(meter)
        self.policies = Policies(meter.engine, meter.clock)
        self.schedules = Schedules(meter)
        self.offers = Offers(meter)
        self.purchases = Purchases(meter, self.offers, checkout)
        self.payments = Payments(meter, self.purchases)

        self.inbox = Inbox(meter.engine, meter.clock)
        self.personal = Personal(meter.engine, meter.clock, self.sealer)
        self.subscriptions = Subscriptions(
            meter.engine, meter.clock, self.sealer, check_url=check_url, has_mail=self.mailer.is_ready
        )

    def close(self) -> None:
        """Close what the suite opened."""
        self.keys.close()
        self.platform_keys.close()
