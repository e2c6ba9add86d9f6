// Runs before the first paint: the theme the viewer chose never flashes, and the server learns which zone to show times in.
(() => {
  const root = document.documentElement;
  const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } }; // storage can be switched off

  /** Tell the server, which writes every time and cuts every day, to use the viewer's own zone or UTC. */
  function tellZone() {
    const zone = stored("zone") === "UTC" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `tokenwell_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  }

  root.dataset.js = "";
  const theme = stored("theme");
  if (!root.dataset.theme && (theme === "light" || theme === "dark")) root.dataset.theme = theme;
  if (!location.pathname.startsWith("/embed/")) tellZone();
  window.viewer = { stored, tellZone };
})();
