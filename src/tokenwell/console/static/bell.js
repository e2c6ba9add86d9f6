// The bell: its panel shows the latest alerts, its count is live. Without this script it is a link to all of them.
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const say = (text) => { const live = $("#announce"); if (live) live.textContent = text; };

  function show({ unread, count, label, newest }) {
    const button = $("#bell");
    if (button) button.dataset.newest = newest;
    for (const bell of document.querySelectorAll(".bell")) {
      bell.setAttribute("aria-label", label);
      const badge = $(".bell-count", bell);
      badge.textContent = count;
      badge.hidden = !Number(unread);
    }
  }

  /** Fill the panel, or send its form and fill it with the answer. What cannot be had in place is left to the browser. */
  async function fill(form) {
    const bell = $("#bell");
    try {
      const answer = await fetch(bell.dataset.panel, { headers: { "HX-Request": "true" }, ...(form && { method: "POST", body: form }) });
      const redirect = answer.headers.get("HX-Redirect");
      if (redirect) return location.assign(redirect);
      if (!answer.ok) throw new Error(String(answer.status));
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      const panel = $("#bell-panel");
      panel.replaceChildren(...made.body.childNodes);
      show($("#bell-news", panel).dataset);
      return panel;
    } catch { location.assign(bell.dataset.path); }
  }

  document.addEventListener("toggle", async (event) => {
    if (event.target.id !== "bell-panel" || event.newState !== "open") return;
    const panel = await fill();
    if (panel?.matches(":popover-open")) $("#bell-h", panel).focus();
  }, true);

  document.addEventListener("submit", async (event) => {
    if (!event.target.closest("#bell-panel")) return;
    event.preventDefault();
    const panel = await fill(new URLSearchParams(new FormData(event.target, event.submitter)));
    if (panel) $("#bell-h", panel).focus();
  });

  /** Who follows an alert has read it. */
  document.addEventListener("click", (event) => {
    const line = event.target.closest("#bell-panel a")?.closest("[data-unread]"), form = $("#bell-panel form");
    if (!line || !form) return;
    const body = new URLSearchParams(new FormData(form));
    body.set("event", line.dataset.unread);
    fetch(form.action, { method: "POST", body, keepalive: true, headers: { "HX-Request": "true" } });
  });

  document.addEventListener("bell", (event) => {
    const told = JSON.parse(event.detail.data), bell = $("#bell"), panel = $("#bell-panel");
    if (!bell) return;
    const isNews = bell.dataset.newest !== told.newest && told.unread;
    show(told);
    // The packs page tells of its state itself.
    if (isNews && told.title && !$("#top")) say(told.title);
    if (isNews && panel.matches(":popover-open") && !panel.contains(document.activeElement)) fill();
  });
})();
