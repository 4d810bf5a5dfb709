// The diagnostics page: it subscribes to its topic, whose events make the page's parts refresh.

import { hub } from "./hub.js";

hub.subscribe("diagnostics");
