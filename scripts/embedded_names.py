"""Names and terms by which news of the early 2000s is told apart, for the generated news lines.

Written from general knowledge, from no data set: what a base model of ordinary size has read in any
newspaper archive, and an embedded one has no room to read.
"""

from __future__ import annotations

from embedded_words import split_phrases

NAMES: dict[str, list[str]] = {
    "sport": split_phrases(
        """
Yankees, Red Sox, Manchester United, Arsenal, Chelsea, Real Madrid, Barcelona, Lakers, Patriots,
Cowboys, Giants, Dodgers, Braves, Cubs, Astros, Cardinals, Mets, Phillies, Liverpool, Juventus,
Inter Milan, AC Milan, Bayern Munich, Ferrari, Schumacher, Tiger Woods, Vijay Singh, Phil
Mickelson, Ernie Els, Roger Federer, Andy Roddick, Lleyton Hewitt, Serena Williams, Maria
Sharapova, Lindsay Davenport, Andre Agassi, Michael Phelps, Ian Thorpe, Shaquille O'Neal, Kobe
Bryant, Kevin Garnett, Tim Duncan, Peyton Manning, Brett Favre, Michael Vick, Randy Moss,
Terrell Owens, Barry Bonds, Roger Clemens, Randy Johnson, Pedro Martinez, Curt Schilling, Alex
Rodriguez, Manny Ramirez, Ichiro Suzuki, David Beckham, Wayne Rooney, Ronaldo, Zidane, Alex
Ferguson, Arsene Wenger, Jose Mourinho, NBA, NFL, NHL, FIFA, UEFA, PGA Tour, Ryder Cup, Davis
Cup, US Open, Wimbledon, World Series, Super Bowl, Champions League, Athens Olympics, Premier
League, NASCAR, Formula One, Pakistan cricket, Brian Lara, Glenn McGrath, Shane Warne, Ricky
Ponting, Sachin Tendulkar, Notre Dame, Oklahoma, Southern California, Florida State, Auburn,
Miami Dolphins, Philadelphia Eagles, Pittsburgh Steelers, Denver Broncos, Green Bay Packers,
Houston Rockets, Detroit Pistons, Indiana Pacers, quarterback, touchdown, inning, innings,
wicket, homer, pitcher, bullpen, playoff, rebounds, points, coach, seed, semifinals,
quarterfinal, medal, sprinter, doping, lockout, Minnesota Vikings, Dallas Cowboys, Chicago
Bears, New York Jets, New York Giants, Buffalo Bills, Oakland Raiders, Seattle Seahawks, St.
Louis Rams, San Francisco 49ers, Atlanta Falcons, Carolina Panthers, Tampa Bay Buccaneers,
Baltimore Ravens, Cleveland Browns, Cincinnati Bengals, Indianapolis Colts, Tennessee Titans,
Kansas City Chiefs, San Diego Chargers, Washington Redskins, Baltimore Orioles, Tampa Bay Devil
Rays, Toronto Blue Jays, Chicago White Sox, Minnesota Twins, Detroit Tigers, Kansas City Royals,
Cleveland Indians, Anaheim Angels, Texas Rangers, Seattle Mariners, Oakland Athletics, San
Francisco Giants, Colorado Rockies, Arizona Diamondbacks, San Diego Padres, Milwaukee Brewers,
Pittsburgh Pirates, Cincinnati Reds, Florida Marlins, Montreal Expos, Los Angeles Lakers, Boston
Celtics, New York Knicks, Miami Heat, Phoenix Suns, Sacramento Kings, San Antonio Spurs, Dallas
Mavericks, Utah Jazz, Denver Nuggets, Minnesota Timberwolves, Toronto Raptors, Memphis
Grizzlies, New Jersey Nets, Toronto Maple Leafs, Montreal Canadiens, Detroit Red Wings,
Newcastle, Tottenham, Everton, Middlesbrough, Southampton, Celtic, Valencia, Porto, Ajax, Lyon,
Eriksson, Thierry Henry, Michael Owen, Rio Ferdinand, Raul, Kimi Raikkonen, Jenson Button, Juan
Pablo Montoya, Jeff Gordon, Dale Earnhardt, Lance Armstrong, Marat Safin, Tim Henman, Justine
Henin-Hardenne, Kim Clijsters, Venus Williams, Retief Goosen, Padraig Harrington, Sergio Garcia,
Colin Montgomerie, LeBron James, Allen Iverson, Carmelo Anthony, Tracy McGrady, Yao Ming,
Donovan McNabb, Eli Manning, Tom Brady, Ricky Williams, Ron Artest, Jason Giambi, Derek Jeter,
Sammy Sosa, Carlos Beltran, Albert Pujols, Johan Santana, Mariano Rivera, Carl Pavano, Steve
Spurrier, Bobby Bowden, Southern Cal, Ohio State, Michigan, Texas Longhorns, LSU, Virginia Tech,
Boston College, Heisman Trophy, Orange Bowl, Rose Bowl, BCS, Big East, NCAA, MLB, Major League
Soccer, World Cup qualifier, UEFA Cup, Test match, one-day international, wickets, runs,
batting, bowler, hat-trick, midfielder, defender, free agent, contract extension, starting
lineup, disabled list, hamstring, fourth quarter, field goal, interception, running back, wide
receiver, defensive end, receiver, linebacker, shutout, third baseman, outfielder, shortstop,
left-hander, birdie, par, second round, straight sets, second seed, unseeded, injury time, sent
off, home fans, head coach, assistant coach, roster, draft pick, trainer, stadium, teammates,
unbeaten
        """
    ),
    "finance": split_phrases(
        """
Wall Street, Dow Jones, Nasdaq, New York Stock Exchange, Federal Reserve, Alan Greenspan, OPEC,
Wal-Mart, Target, Kmart, Sears, General Motors, Ford Motor, Chrysler, Toyota, Boeing, Airbus,
Delta Air Lines, US Airways, United Airlines, American Airlines, Citigroup, Bank of America, JP
Morgan, Morgan Stanley, Goldman Sachs, Merrill Lynch, Fannie Mae, AIG, Marsh McLennan, Eliot
Spitzer, SEC, Halliburton, Yukos, Gazprom, Royal Dutch Shell, Exxon Mobil, ChevronTexaco, BP,
Merck, Vioxx, Pfizer, Johnson and Johnson, Coca-Cola, PepsiCo, McDonald's, Starbucks, Procter
and Gamble, Gillette, Walt Disney, Michael Eisner, Time Warner, Viacom, Comcast, AT and T,
Verizon, Sprint, Nextel, Cingular, Krispy Kreme, Martha Stewart, Enron, WorldCom, Parmalat,
Nortel, Siemens, Deutsche Bank, HSBC, Santander, Marks and Spencer, Tesco, J Sainsbury,
Unilever, Nestle, Nikkei, FTSE, euro zone, European Central Bank, International Monetary Fund,
World Trade Organization, barrel, crude, futures, shares, stocks, bonds, earnings, quarter,
revenue, outlook, forecast, analysts, jobless claims, payrolls, consumer confidence, housing
starts, inflation, interest rates, trade deficit, dollar, euro, yen, yuan, takeover, merger,
bankruptcy, antitrust, IPO, dividend, layoffs, retail sales, profit, losses, Bank One, Wachovia,
Wells Fargo, Washington Mutual, Lehman Brothers, Bear Stearns, UBS, Credit Suisse, ABN AMRO,
Barclays, Royal Bank of Scotland, Allianz, ING, Mitsubishi Tokyo, UFJ, Sumitomo Mitsui, Mizuho,
Daiei, Nissan, Honda, Mazda, Volkswagen, DaimlerChrysler, Renault, Fiat, Opel, Delphi,
Caterpillar, Deere, General Electric, Tyco, Honeywell, Lockheed Martin, Northrop Grumman, United
Technologies, Southwest Airlines, JetBlue, Northwest Airlines, Continental Airlines, ATA
Airlines, Alitalia, British Airways, Air France, Qantas, Ryanair, Home Depot, Lowe's, Best Buy,
Circuit City, Costco, Gap, Nordstrom, Federated, J.C. Penney, Toys R Us, Albertsons, Safeway,
Kroger, Whole Foods, Eli Lilly, Bristol-Myers, GlaxoSmithKline, AstraZeneca, Novartis, Sanofi,
Aventis, Bayer, Schering-Plough, Chiron, Guidant, Boston Scientific, Celebrex, Lipitor, Dow
Chemical, DuPont, Alcoa, Alcan, BHP Billiton, Rio Tinto, WMC Resources, Xstrata, Harmony Gold,
Gold Fields, Newmont, US Steel, Mittal, Arcelor, ConocoPhillips, Unocal, Shell, Total, Lukoil,
Rosneft, Yuganskneftegas, Sibneft, PetroChina, CNOOC, Sinopec, Minmetals, Noranda, Molson,
Coors, Anheuser-Busch, Diageo, Heineken, Interbrew, Kraft, Sara Lee, General Mills, Kellogg,
Altria, Reynolds, News Corp, Rupert Murdoch, Conrad Black, Hollinger, Donald Trump, Trump
Hotels, MGM Mirage, Mandalay, Caesars, Harrah's, Carnival, Marriott, Warren Buffett, Berkshire
Hathaway, Kenneth Lay, Jeffrey Skilling, Bernard Ebbers, Dennis Kozlowski, Frank Quattrone,
Richard Grasso, hedge fund, mutual fund, mutual funds, private equity, pension plan, pension
fund, flight attendants, pilots union, labor costs, wage cuts, Chapter 11, accounting scandal,
fraud charges, insider trading, shareholders, shareholder, stake, buyout, spin off,
restructuring, write-down, credit rating, S&P 500, blue chips, Treasury prices, gross domestic
product, GDP, economists, economic growth, factory orders, durable goods, manufacturing,
unemployment, home sales, mortgage rates, consumer prices, producer prices, wholesale prices,
current account, budget deficit, gasoline, heating oil, natural gas, refinery, a barrel, light
sweet crude, supply worries, holiday shopping, same-store sales, discount chain, fourth-quarter
profit, third-quarter earnings, net income, per share, percent, quarterly results, full-year
forecast, tax cut, subsidies, textile quotas, mad cow disease beef ban, soybean, copper, gold
prices, exports, imports, euro record high, greenback, rate hike, Fed
        """
    ),
    "computing": split_phrases(
        """
Microsoft, Windows XP, Service Pack 2, Internet Explorer, Firefox, Mozilla, Google, Gmail,
Yahoo, AOL, eBay, Amazon, Apple, iPod, iTunes, Macintosh, IBM, Intel, AMD, Pentium, Itanium,
Opteron, Hewlett-Packard, Dell, Sun Microsystems, Solaris, Java, Oracle, PeopleSoft, SAP,
Siebel, Salesforce, Linux, Red Hat, Novell, SuSE, SCO Group, open source, Cisco, Juniper, Nokia,
Motorola, Ericsson, Samsung, Sony, PlayStation, PSP, Nintendo DS, Xbox, Halo 2, Grand Theft
Auto, Doom 3, Half-Life 2, Electronic Arts, RealNetworks, Napster, Kazaa, BitTorrent, RIAA,
MPAA, peer to peer, file sharing, spam, phishing, spyware, adware, virus, worm, Sasser, MyDoom,
Netsky, Symantec, McAfee, Norton, patch, vulnerability, flaw, hackers, broadband, Wi-Fi, WiMax,
Bluetooth, VoIP, Skype, Vonage, Internet phone, 3G, BlackBerry, Treo, PalmOne, Symbian, smart
phone, camera phone, search engine, desktop search, blog, blogger, web browser, e-mail, instant
messaging, supercomputer, Blue Gene, processor, dual-core, gigabytes, server, laptop, notebook,
flat panel, DVD, Blu-ray, HD-DVD, TiVo, digital music, download, software, developers, PC, chip,
Windows Server, Longhorn, Office, MSN, Hotmail, MSN Search, Bill Gates, Steve Ballmer, Steve
Jobs, iMac, iPod mini, iPod Photo, Mac OS X, Safari, Google IPO, Google Desktop, Froogle, Orkut,
Sergey Brin, Larry Page, Ask Jeeves, Lycos, Overture, Netscape, Opera, Thunderbird, OpenOffice,
Debian, Fedora, Mandrake, Ubuntu, Apache, MySQL, PHP, Perl, Sun Java Desktop, StarOffice, Scott
McNealy, Larry Ellison, BEA Systems, Computer Associates, Veritas, EMC, Network Appliance,
Seagate, Maxtor, Western Digital, Gateway, eMachines, Lenovo, Acer, Toshiba, Fujitsu, NEC,
Hitachi, Matsushita, Sharp, LG Electronics, Philips, Texas Instruments, Broadcom, Qualcomm,
Nvidia, ATI, Freescale, Transmeta, Rambus, Centrino, Xeon, Celeron, Athlon 64, PowerPC, Cell
processor, Power5, Cray, Earth Simulator, grid computing, cluster, mainframe, blade servers,
Verizon Wireless, T-Mobile, AT and T Wireless, Orange, Vodafone, NTT DoCoMo, BT, Alcatel,
Lucent, Nortel Networks, Research In Motion, PalmSource, Handspring, Windows Mobile, Pocket PC,
handset, handsets, text messaging, SMS, ringtones, ring tones, mobile TV, GPS, RFID, RFID tags,
biometric, smart card, digital camera, megapixel, Kodak, Canon, memory card, flash memory, hard
drive, LCD, plasma TV, HDTV, satellite radio, XM Radio, Sirius, DirecTV, video on demand, MP3,
MP3 player, Windows Media, Rhapsody, Musicmatch, Virgin Digital, music downloads, Grokster,
Morpheus, copyright infringement lawsuit, movie piracy, Recording Industry Association, digital
rights management, encryption, SSL, firewall, antivirus, Trojan, Bagle, Download.Ject, buffer
overflow, JPEG flaw, exploit, zero-day, denial of service, botnet, zombie PCs, spammers,
CAN-SPAM, Sender ID, domain names, ICANN, VeriSign, IPv6, World Wide Web, Tim Berners-Lee, RSS,
podcasting, wiki, Wikipedia, weblogs, online gaming, EverQuest, World of Warcraft, The Sims 2,
Madden, GameCube, Game Boy, Nintendo, PlayStation 2, PlayStation Portable, video game console,
gamers, Ultima, Star Wars Galaxies, Counter-Strike, Electronic Entertainment Expo, outsourcing,
programmers, CIO, enterprise software, middleware, Web services, XML, database, CRM, ERP, beta,
release candidate, upgrade, licensing, antitrust remedy, European Commission Microsoft case,
Eolas, patent suit, Kodak Java, SCO Linux lawsuit, IT managers, e-commerce, online auction,
Internet users, dial-up, DSL, cable modem, hotspots, 802.11
        """
    ),
    "science": split_phrases(
        """
NASA, space shuttle, Discovery, Cassini, Saturn, Titan, Mars rover, Opportunity, Spirit, Hubble,
Genesis capsule, SpaceShipOne, X Prize, Burt Rutan, Virgin Galactic, International Space
Station, Soyuz, cosmonaut, astronaut, European Space Agency, SMART-1, comet, asteroid, black
hole, supernova, galaxy, telescope, astronomers, scientists, researchers, fossils, dinosaur,
hominid, Flores, Neanderthal, genome, DNA, stem cells, cloning, global warming, Kyoto,
greenhouse gases, Arctic, Antarctica, glaciers, ozone, volcano, Mount St. Helens, earthquake,
tsunami, hurricane, endangered species, whales, penguins, coral reef, biodiversity, ecologists,
physicists, quantum, neutrinos, nanotechnology, Nobel Prize, chimpanzees, archaeologists, Mars
Express, Beagle 2, Huygens, Stardust, Deep Impact, Messenger, Mercury, Venus, Jupiter, Pluto,
Sedna, Milky Way, dark matter, dark energy, big bang, gamma-ray burst, Swift satellite, Chandra,
Spitzer Space Telescope, Keck, Perseid meteor shower, lunar eclipse, solar flare, solar wind,
Paul Allen, Scaled Composites, Mojave, da Vinci Project, Proton rocket, Delta 4, Ariane, Titan
rocket, shuttle fleet, Columbia disaster, Sean O'Keefe, space agency, moon mission, spacewalk,
oxygen generator, Russian cargo ship, SETI, alien life, methane, Martian, hubble repair robot,
tyrannosaur, feathered dinosaur, mammoth, Homo erectus, Homo floresiensis, hobbit, skull,
skeleton, archaeology, tomb, ancient Egypt, Stonehenge, Ice age, ice core, sea level, carbon
emissions, Kyoto Protocol, fossil fuels, hydrogen fuel cell, hybrid cars, solar power, wind
farm, nuclear fusion, ITER, particle accelerator, CERN, Stephen Hawking, superconductors, laser,
carbon nanotubes, embryo, cloned cats, gene therapy, sequencing, mutation, protein, bacteria,
fruit flies, mice, rats, monkeys, gorillas, elephants, tigers, pandas, sharks, dolphins, sea
turtles, frogs, amphibians, salmon, cod, seabirds, albatross, bees, ants, butterflies, spiders,
rainforest, Amazon, deforestation, CITES, ivory, whaling, conservationists, zoologists,
botanists, marine biologists, oceanographers, seismologists, eruption, lava, tectonic plates,
magnetic field, National Academy of Sciences, journal Nature, journal Science, National
Geographic, Smithsonian, Caltech, MIT scientists, robot, robots, robotics, artificial
intelligence
        """
    ),
    "world affairs": split_phrases(
        """
Iraq, Baghdad, Fallujah, Najaf, Mosul, Samarra, Sadr City, Moqtada al-Sadr, Ayad Allawi, Saddam
Hussein, Abu Ghraib, al-Zarqawi, al Qaeda, Osama bin Laden, Taliban, Afghanistan, Kabul, Hamid
Karzai, Pakistan, Pervez Musharraf, Kashmir, India, Manmohan Singh, Israel, Ariel Sharon, Yasser
Arafat, Palestinian, Gaza, West Bank, Hamas, Mahmoud Abbas, Hezbollah, Lebanon, Syria, Iran,
Tehran, uranium enrichment, IAEA, North Korea, Pyongyang, Kim Jong Il, South Korea, Seoul,
Taiwan, Chen Shui-bian, China, Hu Jintao, Japan, Junichiro Koizumi, Russia, Vladimir Putin,
Chechnya, Beslan, school siege, Ukraine, Viktor Yushchenko, Viktor Yanukovich, Kiev, Georgia,
South Ossetia, Sudan, Darfur, Khartoum, Ivory Coast, Abidjan, Congo, Rwanda, Burundi, Nigeria,
Zimbabwe, Robert Mugabe, Haiti, Venezuela, Hugo Chavez, Cuba, Colombia, FARC, Chile, Pinochet,
Argentina, Spain, Zapatero, Basque ETA, Britain, Tony Blair, Jack Straw, Northern Ireland, Sinn
Fein, France, Jacques Chirac, Germany, Gerhard Schroeder, Turkey, European Union, Kofi Annan,
United Nations, Security Council, NATO, Pentagon, Donald Rumsfeld, Colin Powell, Condoleezza
Rice, President Bush, John Kerry, Dick Cheney, Philippines, Manila, Indonesia, Jakarta,
Thailand, Bangkok, Myanmar, Aung San Suu Kyi, Nepal, Maoist rebels, Sri Lanka, Tamil Tigers,
Australia, John Howard, Cyprus, Serbia, Kosovo, Milosevic, The Hague, war crimes tribunal,
hostage, beheaded, militants, insurgents, car bomb, suicide bomber, ceasefire, refugees,
peacekeepers, troops, marines, airstrike, elections, opposition, parliament, prime minister,
Egypt, Hosni Mubarak, Jordan, King Abdullah, Saudi Arabia, Riyadh, Jeddah, Crown Prince
Abdullah, Kuwait, Yemen, Oman, Libya, Gaddafi, Lockerbie, Algeria, Morocco, Tunisia, Ethiopia,
Eritrea, Somalia, Mogadishu, Kenya, Uganda, Lord's Resistance Army, Tanzania, Mozambique, South
Africa, Thabo Mbeki, Nelson Mandela, Ghana, Liberia, Sierra Leone, Guinea, Equatorial Guinea,
Mark Thatcher, Angola, Namibia, Botswana, Central African Republic, Chad, Laurent Gbagbo,
Olusegun Obasanjo, Janjaweed, African Union, Bangladesh, Dhaka, Bhutan, Maldives, New Delhi,
Islamabad, Rawalpindi, Lahore, Karachi, Shaukat Aziz, Waziristan, Peshawar, Kandahar, warlord,
Tajikistan, Uzbekistan, Kazakhstan, Kyrgyzstan, Turkmenistan, Azerbaijan, Armenia,
Nagorno-Karabakh, Belarus, Lukashenko, Moldova, Abkhazia, Mikhail Saakashvili, North Ossetia,
Shamil Basayev, Grozny, Moscow theatre, Poland, Hungary, Czech Republic, Romania, Bulgaria,
Croatia, Bosnia, Sarajevo, Radovan Karadzic, Macedonia, Albania, Montenegro, Belgrade, Slobodan
Milosevic, Greece, Turkish Cypriots, Recep Tayyip Erdogan, Ankara, Istanbul, Italy, Silvio
Berlusconi, Vatican, Pope John Paul II, Rocco Buttiglione, Jose Manuel Barroso, Netherlands,
Theo van Gogh, Belgium, Denmark, Norway, Sweden, Finland, Switzerland, Austria, Portugal,
Ireland, Ian Paisley, Gerry Adams, IRA, Downing Street, House of Commons, Labour Party,
Conservatives, Michael Howard, David Blunkett, Ken Bigley, Margaret Hassan, Black Watch, Basra,
Karbala, Sunni, Shiite, Kurds, Kirkuk, Ramadi, Tikrit, Mahdi Army, Ali al-Sistani, interim
government, Paul Bremer, John Negroponte, Green Zone, Halabja, Chemical Ali, Tariq Aziz,
Guantanamo Bay, Ramallah, Jenin, Nablus, Rafah, Jabaliya, Jewish settlers, Gaza pullout, Likud,
Shimon Peres, Binyamin Netanyahu, Marwan Barghouthi, Islamic Jihad, Rafik Hariri, Damascus,
Bashar al-Assad, Mohamed ElBaradei, Natanz, Mohammad Khatami, Hassan Rohani, six-party talks,
Roh Moo-hyun, Japan abductees, Yasukuni, Okinawa, Hong Kong, Tung Chee-hwa, Falun Gong, Zhao
Ziyang, Wen Jiabao, Jiang Zemin, Tibet, Dalai Lama, Xinjiang, Vietnam, Hanoi, Cambodia, Khmer
Rouge, Norodom Sihanouk, Laos, Malaysia, Anwar Ibrahim, Mahathir Mohamad, Singapore, Brunei,
Susilo Bambang Yudhoyono, Megawati, Bali bombing, Jemaah Islamiyah, Abu Bakar Bashir, Aceh, East
Timor, Abu Sayyaf, Gloria Arroyo, Mindanao, Thaksin Shinawatra, southern Thailand Muslims,
Rangoon, Papua New Guinea, Solomon Islands, Fiji, New Zealand, Helen Clark, Canada, Paul Martin,
Mexico, Vicente Fox, Guatemala, Nicaragua, Alvaro Uribe, Peru, Ecuador, Bolivia, Brazil, Lula,
Paraguay, Uruguay, Port-au-Prince, Aristide, Gonaives, Guerrillas, paramilitaries, drug lord,
extradition, death toll, mass grave, genocide, aid workers, Red Cross, human rights group,
Amnesty International, exile, coup plot, assassination, bodyguards, roadside bomb, mortar
attack, grenade, explosion kills, shot dead, killing at least, wounding, kidnappers, hostage
crisis, captors, execution, embassy, consulate, state of emergency, curfew, riot police,
demonstrators, general strike, runoff, ballot, polling stations, vote count, election
commission, presidential candidate, ruling party, coalition, cabinet, resignation,
no-confidence, impeachment, presidency, foreign ministry, talks, accord, disarmament, weapons
inspectors, nuclear programme, extremists, clerics, mosque, fatwa, Muslims
        """
    ),
}
