"""Offers and purchases over HTTP: who sells, who buys, and what each sees."""

from __future__ import annotations

from tests.api.platform import OWN, Platform, key
from tests.payments import StripeServer
from tokenwell.service.access.scopes import Scope

OFFER = {"name": "Five million", "amount": "5M", "price_minor": 4_900, "currency": "EUR"}
AT = f"/v1/organizations/{OWN}/purchases"


async def test_what_is_sold_is_bought_and_paid(seller: Platform, stripe: StripeServer) -> None:
    async with seller.client() as api:
        offer = (await api.post("/v1/offers", json=OFFER, headers=key("o"))).json()
        assert (offer["currency"], offer["withdrawn_at"]) == ("eur", None)
        first = await api.post(AT, json={"offer_id": offer["id"]}, headers=key("buy"))
        purchase = first.json()
        assert (first.status_code, purchase["status"], purchase["address"][:21]) == (201, "open", stripe.url[:21])
        again = await api.post(AT, json={"offer_id": offer["id"]}, headers=key("buy"))
        assert (again.json(), again.headers["idempotent-replayed"]) == (purchase, "true")
        (session_id,) = list(stripe.sessions)[-1:]
        seller.suite.payments.hear(*stripe.event("checkout.session.completed", stripe.pay(session_id)))
        granted = (await api.get(f"{AT}/{purchase['id']}")).json()
        assert granted["status"] == "granted"
        assert (await api.get(f"/v1/organizations/{OWN}/packs/{granted['pack_id']}")).json()["total_tokens"] == 5_000_000
        for listed in (AT, "/v1/purchases"):
            page = (await api.get(listed, params={"status": "granted"})).json()
            assert [each["id"] for each in page["items"]] == [purchase["id"]]
            assert (await api.get(listed, params={"status": "open"})).json()["items"] == []
        withdrawn = (await api.post(f"/v1/offers/{offer['id']}/withdraw", headers=key())).json()
        assert withdrawn["withdrawn_at"] is not None
        assert (await api.get("/v1/offers")).json()["items"] == []
        assert (await api.get("/v1/offers", params={"with_withdrawn": True})).json()["items"] == [withdrawn]
        gone = await api.post(AT, json={"offer_id": offer["id"]}, headers=key())
        assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


async def test_a_provider_that_fails_is_told_and_tried_again(seller: Platform, stripe: StripeServer) -> None:
    async with seller.client() as api:
        offer = (await api.post("/v1/offers", json=OFFER, headers=key())).json()
        stripe.fails = 500
        failed = await api.post(AT, json={"offer_id": offer["id"]}, headers=key("buy"))
        assert (failed.status_code, failed.json()["code"], failed.json()["retryable"]) == (502, "payment_unavailable", True)
        stripe.fails = 0
        assert (await api.post(AT, json={"offer_id": offer["id"]}, headers=key("buy"))).status_code == 201
        assert len((await api.get(AT)).json()["items"]) == 1


async def test_an_organizations_own_key_buys_but_does_not_sell(seller: Platform) -> None:
    async with seller.client() as api:
        offer = (await api.post("/v1/offers", json=OFFER, headers=key())).json()
    scopes = [Scope.PACKS_READ, Scope.TOPUPS_READ, Scope.TOPUPS_WRITE]
    async with seller.client(seller.issue(scopes, OWN)) as own:
        assert [each["id"] for each in (await own.get("/v1/offers")).json()["items"]] == [offer["id"]]
        assert (await own.post("/v1/offers", json=OFFER, headers=key())).status_code == 403
        purchase = (await own.post(AT, json={"offer_id": offer["id"]}, headers=key())).json()
        assert (await own.get("/v1/purchases")).status_code == 403
        other = f"/v1/organizations/globex/purchases/{purchase['id']}"
        assert (await own.get(other)).status_code == 404
    async with seller.client() as api:
        assert (await api.get(other)).status_code == 404
