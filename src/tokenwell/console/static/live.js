// Live: what the server's stream says changes the numbers in place; what is new below is offered, never pushed.
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const REFRESH_MS = 5_000, GIVE_UP_MS = 30_000, POLL_MS = 15_000;
  const say = (text) => { const live = $("#announce"); if (live) live.textContent = text; };
  const SILENCE_MS = 40_000; // the server says something every 15 seconds
  let heard = Date.now(), at = "", lostTimer = 0, pollTimer = 0, refreshTimer = 0, refreshed = 0;

  const page = () => $("#live");

  function showWord(isLost) {
    const word = $("#live-word");
    if (!word) return;
    word.toggleAttribute("data-lost", isLost);
    const text = isLost ? word.dataset.lostWords.replace("{at}", at || word.dataset.at) : word.dataset.liveWords;
    if (word.textContent === text) return;
    word.textContent = text;
    if (isLost || word.dataset.was) say(text);
    word.dataset.was = isLost ? "lost" : "";
  }

  function lost() {
    showWord(true);
    lostTimer ||= setTimeout(() => { poll(); pollTimer ||= setInterval(poll, POLL_MS); }, GIVE_UP_MS);
  }

  function back() {
    heard = Date.now();
    clearTimeout(lostTimer);
    clearInterval(pollTimer);
    lostTimer = pollTimer = 0;
    showWord(false);
  }

  /** Fetch the top of the page again: gauge, forecast, banner. */
  async function refresh() {
    clearTimeout(refreshTimer);
    refreshTimer = 0;
    refreshed = Date.now();
    const top = $("#top"), before = top?.dataset.state;
    if (!top) return;
    await htmx.ajax("GET", page().dataset.top, { target: "#top", swap: "outerHTML" });
    const now = $("#top");
    if (now && now.dataset.state !== before) say($(".banner[data-state] h2", now)?.textContent ?? $(".badge", now).textContent);
  }

  /** While there is no stream, ask; what is answered is as of now. */
  async function poll() {
    if (!page()) return back();
    try {
      const answer = await fetch(page().dataset.top, { headers: { "HX-Request": "true" } });
      const redirect = answer.headers.get("HX-Redirect");
      if (redirect) return location.assign(redirect);
      if (!answer.ok) return;
      const made = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#top");
      if (!made || !$("#top")) return;
      at = made.dataset.at;
      $("#top").replaceWith(made);
      showWord(true);
    } catch {} // still lost: the next turn tries again
  }

  function news(event) {
    const told = JSON.parse(event.detail.data), top = $("#top");
    at = told.at;
    back();
    const balance = $("#balance");
    if (balance && balance.textContent !== told.balance) balance.textContent = told.balance;
    const bar = $("#new-rows");
    if (bar && told.lines) {
      $("span", bar).textContent = told.words;
      bar.hidden = false;
    }
    if (!top || (Number(top.dataset.seqTop) >= told.seq && top.dataset.state === told.state && top.dataset.held === told.held)) return;
    if (top.dataset.state !== told.state) refresh();
    else refreshTimer ||= setTimeout(refresh, Math.max(0, refreshed + REFRESH_MS - Date.now()));
  }

  document.addEventListener("news", news);
  document.addEventListener("beat", (event) => { at = JSON.parse(event.detail.data).at; back(); });
  document.addEventListener("htmx:sse:after:connection", () => back());
  document.addEventListener("htmx:sse:error", () => { if (page()) lost(); });
  addEventListener("offline", () => { if (page()) lost(); });
  addEventListener("online", () => { if (page() && lostTimer) poll(); });
  setInterval(() => { if (page() && !document.hidden && Date.now() - heard > SILENCE_MS) lost(); }, 5_000);
  document.addEventListener("visibilitychange", () => { heard = Date.now(); });
  addEventListener("pagehide", back);
})();
