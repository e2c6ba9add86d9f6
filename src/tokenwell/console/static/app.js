// What a script adds to pages that are whole without it: the theme, the zone, and what htmx leaves to do where a part of a page changes.
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const root = document.documentElement;

  const say = (text) => { const live = $("#announce"); if (live) live.textContent = text; };

  /** Keep a choice, where the browser lets us. */
  function keep(name, value) {
    try { localStorage.setItem(name, value); } catch {} // storage can be switched off
  }

  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  function chooseTheme(theme) {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    keep("theme", theme);
    showTheme();
    dispatchEvent(new Event("themechange"));
  }

  /** Press the button of the theme that was chosen. */
  function showTheme() {
    const chosen = root.dataset.theme ?? "system";
    for (const button of document.querySelectorAll("[data-theme-choice]"))
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === chosen));
  }

  /** Times and days are the server's to write: say which zone, and ask again. */
  function switchZone() {
    keep("zone", viewer.stored("zone") === "UTC" ? "local" : "UTC");
    viewer.tellZone();
    location.reload();
  }

  document.addEventListener("click", (event) => {
    const target = event.target;
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target)) menu.open = false;
    const choice = target.closest("[data-theme-choice]");
    if (choice) chooseTheme(choice.dataset.themeChoice);
    else if (target.closest("#theme")) chooseTheme(isDark() ? "light" : "dark");
    else if (target.closest("#zone")) switchZone();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.activeElement?.closest("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    $("summary", menu).focus();
  });

  /** A receipt that is open is closed, not asked for again. */
  document.addEventListener("htmx:before:request", (event) => {
    const link = event.detail.ctx.sourceElement, open = link.dataset.receipt && document.getElementById(link.dataset.receipt);
    if (open) {
      event.preventDefault();
      open.remove();
      link.setAttribute("aria-expanded", "false");
    } else if (event.detail.ctx.target?.id === "page") event.detail.ctx.target.setAttribute("aria-busy", "true");
  });

  /** After a part of the page changed: the focus goes where it belongs, and what is new is told. */
  document.addEventListener("htmx:after:swap", (event) => {
    const { sourceElement, target } = event.detail.ctx, data = event.detail.ctx.wanted ?? {};
    if (data.receipt) {
      sourceElement.setAttribute("aria-expanded", "true");
      sourceElement.setAttribute("aria-controls", data.receipt);
    }
    const focus = data.swap && document.getElementById(data.swap);
    if (focus) {
      focus.focus({ preventScroll: true });
      focus.scrollIntoView({ block: "nearest" });
      const news = $("[data-announce]", $("#page"));
      if (news) say(news.textContent);
    }
    target?.removeAttribute?.("aria-busy");
  });

  // The link that asked may be gone once the page has changed: what it wanted is kept with its request.
  document.addEventListener("htmx:config:request", (event) => {
    event.detail.ctx.wanted = { ...event.detail.ctx.sourceElement.dataset };
  });

  /** What could not be asked for in place is left to the browser to show. */
  document.addEventListener("htmx:error", (event) => {
    const ctx = event.detail.ctx;
    $("#page")?.removeAttribute("aria-busy");
    if (ctx?.wanted?.swap !== undefined && !ctx.response) location.assign(ctx.request.action);
  });

  // Forms in front of their page.
  let opener = null;
  const dialog = () => $("#dialog");

  document.addEventListener("htmx:after:swap", (event) => {
    const box = dialog();
    if (!box || event.detail.ctx.target !== box || !box.firstElementChild) return;
    if (!box.open) {
      opener = event.detail.ctx.sourceElement;
      box.showModal();
    }
    ($("[aria-invalid]", box) ?? $("[autofocus]", box))?.focus();
    if ($("[autofocus]", box) === document.activeElement) document.activeElement.select?.();
  });

  document.addEventListener("click", (event) => {
    const box = dialog();
    if (box?.open && (event.target === box || event.target.closest("[data-close]"))) box.close();
    const fill = event.target.closest("[data-fill]");
    if (!fill) return;
    const field = document.getElementById(fill.dataset.fill);
    field.value = fill.dataset.value;
    for (const each of fill.parentElement.children) each.setAttribute("aria-pressed", String(each === fill));
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });

  document.addEventListener("input", (event) => {
    if (event.target.name === "date") $('[name="expires"][value="date"]', event.target.form).checked = true;
    if (event.target.id === "amount" && event.isTrusted)
      for (const each of document.querySelectorAll('[data-fill="amount"]')) each.setAttribute("aria-pressed", String(each.dataset.value === event.target.value));
  });

  document.addEventListener("close", (event) => {
    if (event.target.id !== "dialog") return;
    event.target.replaceChildren();
    opener?.focus?.();
  }, true);

  showTheme();
  addEventListener("pageshow", showTheme);
})();
