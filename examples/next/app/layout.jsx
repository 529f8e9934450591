// The document.

import "../../shared/style.css";

export const metadata = { title: "Glimpse with Next.js" };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
